"""The OpenAPI document, made from the table of routes and the types of bodies and answers."""

from headrace.http.openapi.document import ApiDocument, openapi_document

__all__ = ("ApiDocument", "openapi_document")
