"""An HTTP service over an index: a router to mount in one's own application, and `rubrika serve`."""

from rubrika.errors import RubrikaError

try:
    from rubrika.serve.guard import Tokens
    from rubrika.serve.service import router
except ModuleNotFoundError as error:
    needed = ("babel", "fastapi", "jinja2", "prometheus_client", "starlette", "uvicorn")
    if (error.name or "").split(".")[0] not in needed:
        raise
    raise RubrikaError(f"the service needs {error.name}; pip install 'rubrika[serve]'") from None

__all__ = ["Tokens", "router"]
