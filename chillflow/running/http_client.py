"""HTTP client for the endpoints of `assemble`."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

from chillflow.errors import ChillFlowError

__all__ = ["get"]

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot reach this machine's 127.0.0.1


def get(url: str, timeout: float = 8.0) -> tuple[int, str]:
    """Status and body of a GET. Raises ChillFlowError if there is no answer."""
    try:
        with _direct.open(url, timeout=timeout) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode()
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ChillFlowError(f"no answer from {url}: {reason}") from error
