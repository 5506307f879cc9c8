"""What a million events cost on AWS, by function and service, for three loads. Prints the table with its arithmetic.

    python3 benches/cost.py            # reads benches/functions.json, which benches/functions.py measured

A function's billed time is its processor time, divided by the share of a processor that its memory gives, and a round trip for each request to S3,
as if none of them ran beside another.
"""

import json
from math import ceil
from pathlib import Path

# List prices of us-east-1 in dollars, as known in 2026; check yours: inputs, not facts.
PRICES = {
    "Lambda request": 0.20e-6,
    "Lambda GB-second": 0.0000166667,
    "SQS request": 0.40e-6,
    "S3 write or list": 5.00e-6,
    "S3 read": 0.40e-6,
    "log GB": 0.50,
}
MEMORY = {"bronze-events": 1024, "silver": 2048, "gold": 3008, "compact": 3008}  # MB, as template.yaml sets it
PROCESSOR_MB = 1769  # MB of memory for a whole processor
ROUND_TRIP = 20  # milliseconds of a request to S3
LOG_BYTES = 1500  # of an invocation: Lambda's three lines, the flow's line, its metrics
MESSAGE_PIECE = 10  # messages of a request to send, receive or delete
LARGEST_BATCH = 10_000
LOADS = [1, 100, 10_000]  # events a second
EVERY = {"gold": 60, "compact": 3600}  # seconds


def batch(load):
    """Events of an invocation: what a window of a second gathers."""
    return min(load, LARGEST_BATCH)


def invocations(name, load):
    """Of a million events. Each batch is a commit, and each commit wakes silver."""
    if name in EVERY:
        return 1e6 / load / EVERY[name]
    return 1e6 / batch(load)


def billed(name, figures, load):
    """Milliseconds of an invocation."""
    measured, requests = figures[name]["warm"][str(batch(load))], figures[name]["requests"]
    share = min(1.0, MEMORY[name] / PROCESSOR_MB)
    return measured["cpu_ms"] / share + (requests["writes"] + requests["reads"]) * ROUND_TRIP


def messages(name, load):
    """Requests to SQS for a million events: sent, received, deleted."""
    if name == "bronze-events":
        return 3 * ceil(batch(load) / MESSAGE_PIECE) * invocations(name, load)
    return 3 * invocations(name, load) if name == "silver" else 0


def costs(name, figures, load):
    """Dollars of a million events, by service."""
    count, requests = invocations(name, load), figures[name]["requests"]
    seconds = billed(name, figures, load) / 1000 * MEMORY[name] / 1024
    return {
        "Lambda": count * (PRICES["Lambda request"] + seconds * PRICES["Lambda GB-second"]),
        "S3": count * (requests["writes"] * PRICES["S3 write or list"] + requests["reads"] * PRICES["S3 read"]),
        "SQS": messages(name, load) * PRICES["SQS request"],
        "logs": count * LOG_BYTES / 1e9 * PRICES["log GB"],
    }


def main():
    figures = json.loads((Path(__file__).resolve().parent / "functions.json").read_text())
    services = ["Lambda", "S3", "SQS", "logs"]
    print("| events a second | function | invocations | ms billed | " + " | ".join(services) + " | sum |")
    print("|--:|---|--:|--:|" + "--:|" * (len(services) + 1))
    for load in LOADS:
        total = 0
        for name in MEMORY:
            cost = costs(name, figures, load)
            total += sum(cost.values())
            cells = [f"{load:,}", name, f"{invocations(name, load):,.2f}", f"{billed(name, figures, load):,.0f}"]
            cells += [f"{cost[service]:.4f}" for service in services] + [f"{sum(cost.values()):.4f}"]
            print("| " + " | ".join(cells) + " |")
        print(f"| {load:,} | **all** | | | | | | | **{total:.4f}** |")


if __name__ == "__main__":
    main()
