"""`python -m tests.servers start|stop|status`: Kafka and Postgres for development."""

import argparse
import shutil
import sys
from pathlib import Path

from tests.servers._process import port_is_free
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer
from tests.servers.server import Server, ServerError

CHECKOUT = Path(__file__).parents[2]
RUN = CHECKOUT / ".servers" / "run"


class Servers:
    """Both servers, on their usual ports if these are free."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kafka = KafkaServer(folder / "kafka", port=9092 if port_is_free(9092) else None, detached=True)
        self.postgres = PostgresServer(folder / "postgres", port=5432 if port_is_free(5432) else None, detached=True)
        self.all: list[Server] = [self.kafka, self.postgres]

    def start(self) -> int:
        for server in self.all:
            already = "already " if server.running else ""
            server.start()
            print(f"{server.name} {already}runs on 127.0.0.1:{server.port}")
        env = self.folder / "env"
        env.write_text(
            f"export KAFKA_BOOTSTRAP_SERVERS={self.kafka.bootstrap_servers}\nexport DATABASE_URL={self.postgres.url}\n"
        )
        shown = env.relative_to(Path.cwd()) if env.is_relative_to(Path.cwd()) else env
        print(f"Use them in this shell:  . {shown}")
        return 0

    def stop(self) -> int:
        for server in self.all:
            runs = server.running
            server.stop()
            server.discard()
            print(f"{server.name} {'stopped' if runs else 'was not running'}")
        shutil.rmtree(self.folder, ignore_errors=True)
        return 0

    def status(self) -> int:
        for server in self.all:
            print(f"{server.name} {f'runs on 127.0.0.1:{server.port}' if server.running else 'does not run'}")
        return 0 if all(server.running for server in self.all) else 1


ACTIONS = {"start": Servers.start, "stop": Servers.stop, "status": Servers.status}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("action", choices=ACTIONS)
    action = ACTIONS[parser.parse_args().action]
    try:
        return action(Servers(RUN))
    except (ServerError, OSError) as error:
        print(f"error: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
