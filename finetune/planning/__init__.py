"""What each way of bringing domain knowledge to a model needs, before anything is started: ``domainqa plan``.

Arithmetic only: no model is loaded and nothing is fetched. Figures are estimates to decide by, within a factor of about
one and a half where the utilisation is guessed right; the formulas' sources stand where they are written.
"""
