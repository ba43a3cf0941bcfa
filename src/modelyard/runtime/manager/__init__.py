"""Many models in one process, loaded while it already serves: inside anyone's application, or as a server of its own.

:mod:`manager` is what an application uses and :mod:`config` how it is told what to do. Who is loaded next and who makes
room is decided in :mod:`schedule`, how far the start has come in :mod:`phases`, both pure; :mod:`loading` carries it
out. :mod:`serving` answers the protocol's routes, :mod:`server` is ``modelyard serve``.
"""
