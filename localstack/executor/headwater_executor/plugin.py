"""What LocalStack loads: the executor called `process`, and batches of queues side by side."""

from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin


class ProcessExecutorPlugin(RuntimeExecutorPlugin):
    name = "process"

    def load(self, *_, **__):
        from .executor import ProcessExecutor
        from .polling import poll_side_by_side

        poll_side_by_side()
        return ProcessExecutor
