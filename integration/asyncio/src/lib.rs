//! A loop inside Python's asyncio, and asyncio on a loop: the recipes are in `python/`, and this
//! crate has them tested.
