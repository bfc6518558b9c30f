#!/usr/bin/python3
"""A client of a database, for all systems the same: numbered commits, one
after the other. Runs on a host of the lab.

usage: writer.py SETTINGS.json

Each attempt has a number of its own, is never tried again, and becomes one
line of the log: number, begin, end (CLOCK_MONOTONIC, ns), what became of it:
accepted, refused (surely not done) or unknown. The deadlines are the
client's: it closes the socket.
"""

import json
import select
import sys
import time
from typing import Any, TextIO

import psycopg2


class Late(Exception):
    """No answer within the deadline."""


def wait(connection: Any, deadline: float) -> None:
    """Until the connection has done what it was told."""
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        left = deadline - time.monotonic()
        reading = [connection] if state == psycopg2.extensions.POLL_READ else []
        writing = [connection] if state == psycopg2.extensions.POLL_WRITE else []
        if left <= 0 or not any(select.select(reading, writing, [], left)):
            raise Late


def connect(settings: dict[str, Any]) -> Any:
    """To the first of the servers that lets this client write; each has the
    whole deadline, as with several hosts in a connection string of libpq."""
    failure: Exception = Late()
    for server in settings["servers"]:
        deadline = time.monotonic() + settings["deadline_s"]
        try:
            connection = psycopg2.connect(server, async_=1)
            try:
                wait(connection, deadline)
                return connection
            except (psycopg2.Error, Late):
                connection.close()
                raise
        except (psycopg2.Error, Late) as error:
            failure = error
    raise failure


def certain(error: psycopg2.Error) -> bool:
    """The server itself refused the statement: it is not done."""
    code = error.pgcode
    return code is not None and code[:2] in ("25", "28", "3D", "42", "53")


def commit(connection: Any, statement: str, number: int, deadline_s: float) -> str:
    deadline = time.monotonic() + deadline_s
    try:
        del connection.notices[:]
        cursor = connection.cursor()
        cursor.execute(statement, (number,))
        wait(connection, deadline)
    except Late:
        return "unknown"
    except psycopg2.Error as error:
        return "refused" if certain(error) else "unknown"
    # Cancelled while it waited for a standby: it is not what was asked for.
    return "unknown" if connection.notices else "accepted"


class Client:
    """One session after the other."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.connection: Any = None
        self.ends = 0.0

    def attempt(self, number: int) -> str:
        """What became of it."""
        settings = self.settings
        if time.monotonic() >= self.ends:
            self.close()
        if self.connection is None:
            try:
                self.connection = connect(settings)
            except (psycopg2.Error, Late):
                return "refused"
            self.ends = time.monotonic() + settings["session_s"]
        answer = commit(self.connection, settings["statement"], number, settings["deadline_s"])
        if answer not in settings["keeps"]:
            self.close()
        return answer

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def write(settings: dict[str, Any], log: TextIO) -> None:
    client, number, due = Client(settings), settings["first"], time.monotonic()
    while True:
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + settings["every_s"], time.monotonic())
        begin = time.monotonic_ns()
        answer = client.attempt(number)
        log.write(f"{number} {begin} {time.monotonic_ns()} {answer}\n")
        number += 1


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    # A writer that begins anew after a boot takes other numbers.
    settings["first"] = time.time_ns() // 1_000_000
    with open(settings["log"], "a", buffering=1, encoding="utf-8") as log:
        write(settings, log)


if __name__ == "__main__":
    main()
