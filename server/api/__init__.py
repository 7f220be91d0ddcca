"""The JSON API: routes, the models of what is asked and answered, the OpenAPI document."""
