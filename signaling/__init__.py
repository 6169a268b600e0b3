"""HTTP in and out: offers, answers, session resources and their errors (aiohttp)."""
