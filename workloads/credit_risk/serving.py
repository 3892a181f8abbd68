"""Credit decisions as a Seldon component."""

from workloads.delivery.component import ModelComponent


class CreditRisk(ModelComponent):
    """Answers applications with the probability of default; all of it is general."""

    workload = "credit-risk"
