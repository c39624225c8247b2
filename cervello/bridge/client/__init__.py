"""Python clients of a bridge: `Client` returns futures and blocks only in calls that wait, `AsyncClient` is for asyncio."""

from cervello.bridge.client.asynchronous import AsyncClient, AsyncPolicy
from cervello.bridge.client.blocking import Client
from cervello.bridge.client.columns import Answer
from cervello.bridge.client.pending import Pending
from cervello.bridge.client.remote_policy import RemotePolicy

__all__ = ["Answer", "AsyncClient", "AsyncPolicy", "Client", "Pending", "RemotePolicy"]
