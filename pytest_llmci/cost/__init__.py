"""What inferences cost: tables of prices, and the arithmetic from time and tokens to USD."""
