"""The JSON API: routes, models of requests and answers, the OpenAPI document."""
