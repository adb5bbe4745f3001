"""wsd with aiohttp as client: aio.py SCENARIO URL. Exit code 0 when all is as it should be."""

import asyncio
import os
import sys

import aiohttp
from aiohttp import WSMsgType

URL = ""
TEXT = "compressible " * 1000


def connect(session, path, **options):
    options.setdefault("compress", 15)
    return session.ws_connect(URL + path, max_msg_size=0, **options)


async def talk(session):
    async with connect(session, "/t/plain/aio-talk") as a, connect(session, "/t/plain/aio-talk", compress=0) as b:
        assert a.compress and not b.compress
        # Each compressed for itself: a window that is kept would break the second.
        for text in ["grüße", TEXT, TEXT, "", TEXT]:
            await a.send_str(text)
            for client in [a, b]:
                message = await client.receive(20)
                assert (message.type, message.data) == (WSMsgType.TEXT, text)
        for data in [b"", b"\x00\xff", os.urandom(5000), bytes(50_000)]:
            await b.send_bytes(data)
            for client in [a, b]:
                message = await client.receive(20)
                assert (message.type, message.data) == (WSMsgType.BINARY, data)


async def megabyte(session):
    async with connect(session, "/t/plain/aio-megabyte") as client:
        text = "0123456789abcdef" * 65_536
        await client.send_str(text)
        assert (await client.receive(20)).data == text
        noise = os.urandom(1 << 20)
        await client.send_bytes(noise)
        assert (await client.receive(20)).data == noise


async def small_window(session):
    """A smaller window is agreed, and what comes is not compressed beyond it."""
    async with connect(session, "/t/plain/aio-window", compress=9) as client:
        for _ in range(3):
            await client.send_str(TEXT)
            assert (await client.receive(20)).data == TEXT


async def close_codes(session):
    for code in [1000, 3000, 4999]:
        client = await connect(session, "/t/plain/aio-close")
        await client.close(code=code, message=b"bye")
        assert client.close_code == code, client.close_code
    client = await connect(session, "/t/plain/aio-big")
    await client.send_str("x" * ((2 << 20) + 1))
    await client.receive(20)
    assert client.close_code == 1009, client.close_code


async def subprotocol(session):
    async with connect(session, "/t/plain/aio-proto", protocols=["chat.v2", "chat.v1"]) as client:
        assert client.protocol == "chat.v2", client.protocol


async def hundred(session):
    """A hundred clients, each of which says something and hears everybody in the same order."""
    clients = await asyncio.gather(*(connect(session, "/t/plain/aio-hundred") for _ in range(100)))
    await asyncio.gather(*(client.send_str(f"{i} {TEXT[:500]}") for i, client in enumerate(clients)))

    async def hear(client):
        return [int((await client.receive(20)).data.split()[0]) for _ in clients]

    heard = await asyncio.gather(*(hear(client) for client in clients))
    assert sorted(heard[0]) == list(range(100))
    assert all(other == heard[0] for other in heard)
    await asyncio.gather(*(client.close() for client in clients))


async def main():
    global URL
    scenario, URL = sys.argv[1:]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.wait_for(globals()[scenario](session), 30)


asyncio.run(main())
