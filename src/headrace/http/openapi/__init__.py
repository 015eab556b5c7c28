"""The OpenAPI document, built from the route table and the types of bodies and responses."""

from headrace.http.openapi.document import ApiDocument, openapi_document

__all__ = ("ApiDocument", "openapi_document")
