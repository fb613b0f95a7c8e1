"""The version of Flowgrid, as the API tells it."""

VERSION = "0.1.0"
