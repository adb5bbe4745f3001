"""wsd with the `websockets` library as client: client.py SCENARIO URL. Exit code 0 when all is as it should be."""

import asyncio
import os
import sys

import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

URL = ""


def connect(path, **options):
    options.setdefault("compression", None)
    # websockets has a size limit of its own.
    return websockets.connect(URL + path, max_size=None, proxy=None, **options)


async def talk():
    async with connect("/t/plain/py-talk") as a, connect("/t/plain/py-talk") as b:
        await a.send("grüße")
        assert await a.recv() == "grüße"
        assert await b.recv() == "grüße"


async def order():
    async with connect("/t/quiet/py-order") as sender, connect("/t/plain/py-order") as listener:
        for i in range(1000):
            await sender.send(str(i))
        for i in range(1000):
            assert await listener.recv() == str(i)


async def kinds():
    async with connect("/t/plain/py-kinds") as client:
        for message in ["", b"", "text", b"plain ascii", b"\x00\xff", "€" * 1000]:
            await client.send(message)
            assert await client.recv() == message


async def fragments():
    async with connect("/t/plain/py-fragments") as client:
        await client.send(["one ", "two ", "three"])
        assert await client.recv() == "one two three"
        await client.send([b"\x01", b"", b"\x02"])
        assert await client.recv() == b"\x01\x02"


async def ping():
    async with connect("/t/plain/py-ping") as client:
        await (await client.ping(b"there?"))


async def close_codes():
    for code in [1000, 1001, 3000, 4999]:
        client = await connect("/t/plain/py-close")
        await client.close(code, "bye")
        assert client.close_code == code, client.close_code


async def too_big():
    async with connect("/t/plain/py-big") as client:
        await client.send("x" * 65536)
        assert await client.recv() == "x" * 65536
        await client.send("x" * 65537)
        try:
            await client.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd.code == 1009, closed
        else:
            raise AssertionError("it went through")


async def no_route():
    try:
        await connect("/t/nothing/at/all")
    except InvalidStatus as refused:
        assert refused.response.status_code == 404, refused
    else:
        raise AssertionError("it was let in")


async def subprotocol():
    async with connect("/t/plain/py-proto", subprotocols=["chat.v2", "chat.v1"]) as client:
        assert client.subprotocol == "chat.v2", client.subprotocol


async def compression():
    async with connect("/t/plain/py-deflate", compression="deflate") as client:
        [extension] = client.protocol.extensions
        assert extension.name == "permessage-deflate", extension
        assert extension.remote_no_context_takeover and extension.local_no_context_takeover
        text = "compressible " * 1000
        for message in [text, text, "", b"", bytes(5000), text]:
            await client.send(message)
            assert await client.recv() == message
        await client.send([text[:100], "", text[100:]])
        assert await client.recv() == text


async def megabyte():
    async with connect("/t/plain/py-megabyte", compression="deflate") as client:
        for message in ["0123456789abcdef" * 65_536, os.urandom(1 << 20)]:
            await client.send(message)
            assert await client.recv() == message


async def many():
    """A hundred clients, each of which says something and hears everybody."""
    clients = await asyncio.gather(*(connect("/t/plain/py-many", compression="deflate") for _ in range(100)))
    await asyncio.gather(*(client.send(str(i)) for i, client in enumerate(clients)))

    async def hear(client):
        return [await client.recv() for _ in clients]

    heard = await asyncio.gather(*(hear(client) for client in clients))
    assert sorted(map(int, heard[0])) == list(range(100))
    assert all(other == heard[0] for other in heard)
    await asyncio.gather(*(client.close() for client in clients))


async def main():
    global URL
    scenario, URL = sys.argv[1:]
    await asyncio.wait_for(globals()[scenario](), 20)


asyncio.run(main())
