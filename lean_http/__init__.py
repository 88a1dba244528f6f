"""HTTP/1.1 as the entrances of cell and router speak it: uvicorn's protocol with a few short cuts,
and a garbage collector that stays out of its way.
"""
