"""A model, its batches and a recipe, put to work."""
