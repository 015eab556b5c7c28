from tests.pipeline.messages.conftest import place, session

__all__ = ["place", "session"]
