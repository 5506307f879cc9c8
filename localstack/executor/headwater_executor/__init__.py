"""Runs functions of LocalStack's Lambda as plain processes, without Docker.

`sandbox` is an execution environment: one process, which answers one invocation at a time through the `interface` of
Lambda's runtimes. Both know nothing of LocalStack. `plugin`, `executor` and `polling` fit them into it.
"""
