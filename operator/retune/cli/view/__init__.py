"""Views: objects of the API in, something that rich can draw out. Pure; the time of day is an argument."""
