"""How a machine gets everything that Falaj needs: pinned, in the clone, one small folder a tool.

`setup` and `install` use the standard library only and run on Python 3.9, since they run before
there is an environment.
"""
