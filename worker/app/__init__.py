"""The training library: `app.training` runs it, `app.transformer` is the model it trains."""
