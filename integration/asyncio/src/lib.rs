//! A loop inside Python's asyncio: the recipe is `python/ioloop_asyncio.py`, and this crate has it tested.
