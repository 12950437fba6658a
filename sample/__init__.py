"""A made-up marketplace in the KazanExpress format, so that everything runs without the real data."""

from rubrika.sample.write import SampleSummary, write_sample

__all__ = ["SampleSummary", "write_sample"]
