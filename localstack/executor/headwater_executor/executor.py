"""A sandbox as LocalStack's Lambda wants it."""

from localstack import config
from localstack.aws.api.lambda_ import PackageType
from localstack.services.lambda_.invocation.executor_endpoint import NAMESPACE, StatusErrorException
from localstack.services.lambda_.invocation.lambda_models import FunctionVersion, InvocationResult
from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

from .interface import Request
from .sandbox import Limits, Sandbox, StartFailed

ONLY_LOCALSTACK = ("LOCALSTACK_", "EDGE_PORT", "AWS_LAMBDA_FUNCTION_TIMEOUT", "_AWS_XRAY_", "AWS_XRAY_")
"""Variables, or their beginnings, that a function on AWS doesn't have."""


class ProcessExecutor(RuntimeExecutor):
    """Runs zips of `provided.*` functions. `AWS_ENDPOINT_URL` is the one variable more than on AWS."""

    sandbox: Sandbox | None = None

    def start(self, env_vars: dict[str, str]) -> None:
        version = self.function_version
        environment = {
            name: str(value)
            for name, value in env_vars.items()
            if value is not None and not name.startswith(ONLY_LOCALSTACK)
        }
        limits = Limits(version.config.timeout, version.config.memory_size)
        code = version.config.code.get_unzipped_code_location()
        self.sandbox = Sandbox(code, environment, limits, version.id.qualifier)
        try:
            self.sandbox.start()
        except StartFailed as failure:
            raise StatusErrorException(f"the function's start failed: {failure}", failure.answer.document) from failure

    def stop(self) -> None:
        if self.sandbox is not None:
            self.sandbox.stop()

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        request = Request(
            payload["invoke-id"],
            payload["invoked-function-arn"],
            payload["trace-id"],
            payload["payload"].encode(),
        )
        answer, log = self.sandbox.invoke(request)
        return InvocationResult(request.id, answer.document, is_error=answer.is_error, logs=log)

    def get_address(self) -> str:
        return "127.0.0.1"

    def get_endpoint_from_executor(self) -> str:
        return "127.0.0.1"

    def get_runtime_endpoint(self) -> str:
        return f"http://127.0.0.1:{config.GATEWAY_LISTEN[0].port}{NAMESPACE}/{self.id}"

    def get_logs(self) -> str:
        return self.sandbox.new_output() if self.sandbox is not None else ""

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        settings = function_version.config
        if settings.package_type != PackageType.Zip or not str(settings.runtime).startswith("provided"):
            raise ValueError(f"only zips of provided.* functions run as processes, not {settings.runtime}")
        settings.code.prepare_for_execution()
        if not (settings.code.get_unzipped_code_location() / "bootstrap").is_file():
            raise ValueError("the function's zip holds no `bootstrap`")

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        """The code stays unpacked: another version may run the same."""
