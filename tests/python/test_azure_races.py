"""Eight handlers that write one table of a lake on Azurite at once: each commit is made where none is, and all of them land."""

import threading
from concurrent.futures import ThreadPoolExecutor

from azure.core.exceptions import ResourceExistsError
from deltalake import DeltaTable

from test_azure import DONE, app, azurite, order, rows, shop  # noqa: F401
from headwater_functions_host.handler import Handler

WRITERS = 8
BATCHES = 6
EVENTS = 20


def test_writers_of_one_table_all_land_once(shop):  # noqa: F811
    assert shop.hand_over(WRITERS, {0: order(0)}) == DONE
    handlers = [shop.handler] + [Handler(shop.app, shop.log) for _ in range(WRITERS - 1)]
    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda handler: handler.start(), handlers[1:]))
            assert set(map(str, pool.map(lambda writer: land(shop, handlers, writer), range(WRITERS)))) == {"None"}
    finally:
        for handler in handlers[1:]:
            handler.kill()
    landed = sorted(row["id"] for row in rows(shop, "bronze/orders_raw"))
    assert landed == list(range(WRITERS * BATCHES * EVENTS + 1))
    table = DeltaTable("az://lake/bronze/orders_raw", storage_options=shop.azurite.options)
    assert table.version() == WRITERS * BATCHES, "a commit for each batch, none in the place of another"
    tries = [line["attempts"] for line in shop.logged() if line["message"] == "committed"]
    assert max(tries) > 1, "they raced"


def land(shop, handlers, writer):  # noqa: F811
    """A partition's batches, one after the other, by a handler of its own."""
    for batch in range(BATCHES):
        first = (writer * BATCHES + batch) * EVENTS + 1
        numbered = {batch * EVENTS + index: order(first + index) for index in range(EVENTS)}
        assert shop.hand_over(writer, numbered, handler=handlers[writer]) == DONE


def test_of_many_that_put_a_blob_where_none_is_one_does(azurite):  # noqa: F811
    container = azurite.blobs.create_container("races")

    def put(writer):
        together.wait()
        try:
            container.get_blob_client(name).upload_blob(str(writer))
        except ResourceExistsError:
            return None
        return writer

    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(25):
            name, together = f"{number:020}.json", threading.Barrier(WRITERS)
            [winner] = [writer for writer in pool.map(put, range(WRITERS)) if writer is not None]
            assert container.download_blob(name).readall() == str(winner).encode()
