"""What each way of bringing domain knowledge to a model needs, before anything is started: ``domainqa plan``.

Arithmetic only: no model is loaded and nothing is fetched. Figures are estimates to decide by; the formulas' sources
stand where they are written.
"""
