"""The door to the API server, shared by those who look (observe) and those who act. Knows no kind of ours."""
