"""Connections of the ejector process's own to what stands at the line; none of them can hold it up."""
