"""The broker's jars: from a given folder, from the cache, or from Maven."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.servers._process import locked
from tests.servers.server import ServerError

VARIABLE = "CHILLFLOW_TEST_KAFKA_LIBS"
POM = Path(__file__).with_name("pom.xml")
CACHE = POM.parents[2] / ".servers" / "kafka-4.1.0" / "libs"


def kafka_jars() -> Path:
    """The folder with the jars, which Maven fills the first time."""
    if named := os.environ.get(VARIABLE):
        if not any(Path(named).glob("kafka_*.jar")):
            raise ServerError(f"{VARIABLE}: no Kafka jars in {named}")
        return Path(named).resolve()
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with locked(CACHE.parent / "lock"):  # two Mavens must not fill one local repository at once
        if not CACHE.exists():
            _copy_with_maven()
    return CACHE


def _copy_with_maven() -> None:
    """Copy the jars to a temporary folder, then rename it: an interrupted copy is never used."""
    if shutil.which("mvn") is None:
        raise ServerError(f"no `mvn` to get Kafka with: install Maven, or name a folder of jars in {VARIABLE}")
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as unfinished:
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={unfinished}/libs"]
        command = ["mvn", "-q", "-B", "-f", str(POM), *goal]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            first = (done.stdout + done.stderr).partition("\n")[0]
            raise ServerError(f"Maven could not get Kafka's jars: {first}\n{done.stdout}{done.stderr}")
        (Path(unfinished) / "libs").rename(CACHE)
