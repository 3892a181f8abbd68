"""What organisation, account and cluster are told of what the rules ask: each fact said once.

Facts (which services are in no region, what nobody does, what a pod must be) and the documents made
of them: policies of the organisation, parts of a permissions boundary, admission policies. Rules
read the facts for their defaults, components the documents for their resources, and `falaj policy`
prints them. It stands on nothing else, neither on Pulumi nor on the rules.
"""
