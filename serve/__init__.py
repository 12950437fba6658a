"""An HTTP service over an index: a router to mount in one's own application, and `rubrika serve`."""

from rubrika.errors import RubrikaError

try:
    from rubrika.serve.guard import Tokens
    from rubrika.serve.service import router
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in ("fastapi", "starlette", "uvicorn", "prometheus_client"):
        raise
    raise RubrikaError(f"the service needs {error.name}; pip install 'rubrika[serve]'") from None

__all__ = ["Tokens", "router"]
