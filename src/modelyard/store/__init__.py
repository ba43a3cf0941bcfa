"""The record of namespaces, models, revisions, operations and events, in SQLite or PostgreSQL.

:class:`SqlStore` implements :class:`modelyard.control.ports.Store`; get one from :meth:`SqlStore.open`.
No rule of the domain lives here except as a constraint that guards against breaking it.

===============  ===========================================================================
store.py         the store itself: the port's methods, each one transaction
commit.py        the one write path of a model: model, revision, operations, events together
models.py ...    the queries, one module a table
catalog.py       the registry's port; shelf.py: one registered model inside a transaction
pages.py         keyset page tokens
codec.py         domain objects to JSON documents and back
salvage.py       what can be read of documents of another version
news.py          what processes on one PostgreSQL tell each other
tables.py        the columns as the queries see them
dialects.py      the little in which the queries of the two databases differ
engine.py        from a URL to an open database (database.py: the face of both)
sqlite.py        one file, on the event loop
postgres.py      a server, through psycopg's asyncio side
faults.py        what goes wrong with a database, in sentences that say what to do
migrate.py       brings a database to this version; migrations/ holds the steps
===============  ===========================================================================
"""

from modelyard.store.store import SqlStore

__all__ = ["SqlStore"]
