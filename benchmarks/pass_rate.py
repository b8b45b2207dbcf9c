"""What the rule of sampled outputs does at true rates: exact chances, no simulation. The table of docs/sampling.md."""

from __future__ import annotations

from pytest_llmci.stats.pass_rate import boundaries

LEAST = 0.8
PLANNED = (20, 50, 100)
RATES = (0.0, 0.5, 0.6, 0.8, 0.9, 0.95, 1.0)


def characteristics(planned: int, least: float, rate: float) -> tuple[float, float, float]:
    """Chances of failing and of passing at a true rate, and the mean number of samples."""
    edges = boundaries(planned, least)
    alive, failed, passed, samples = {0: 1.0}, 0.0, 0.0, 0.0
    for low, high in zip(edges.fail, edges.certify, strict=True):
        samples += sum(alive.values())
        after: dict[int, float] = {}
        for count, chance in alive.items():
            after[count] = after.get(count, 0.0) + chance * (1 - rate)
            after[count + 1] = after.get(count + 1, 0.0) + chance * rate
        failed += sum(chance for count, chance in after.items() if count <= low)
        passed += sum(chance for count, chance in after.items() if count >= high)
        alive = {count: chance for count, chance in after.items() if low < count < high}
    return failed, passed, samples


def _shown(chance: float) -> str:
    return f"{100 * chance:.0f} %" if chance >= 0.1 or chance < 0.0005 else f"{100 * chance:.1f} %"


def main() -> None:
    print("| true rate | " + " | ".join(f"N = {planned}: fails, passes, mean samples" for planned in PLANNED) + " |")
    for rate in RATES:
        found = [characteristics(planned, LEAST, rate) for planned in PLANNED]
        cells = [f"{_shown(failed)}, {_shown(passed)}, {samples:.0f}" for failed, passed, samples in found]
        print(f"| {100 * rate:g} % | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
