"""Takes files out of wheels, checking each against the wheel's RECORD.

Reads a job as JSON from the file named on the command line: {"destination": folder,
"wheels": [{"path": file, "rules": [{"from": pattern, "to": folder/, "optional": bool}]}]}.
A pattern that ends with "/" takes the whole folder, any other is a glob whose matches go
flat into the target folder. Writes a JSON object a line on stdout: {"total": bytes},
{"done": bytes}, and for each file {"file": name, "size": bytes, "sha256": hex}; or
{"error": message, "kind": "wheel" | "disk full" | "other"} and exit code 1.
"""

import base64
import csv
import errno
import fnmatch
import hashlib
import io
import json
import os
import sys
import zipfile
import zlib


class Refused(Exception):
    pass


def say(**message):
    # A broken pipe here ends this process when its parent was killed.
    print(json.dumps(message), flush=True)


def destination(name, rules):
    for index, rule in enumerate(rules):
        pattern = rule["from"]
        if pattern.endswith("/"):
            if name.startswith(pattern):
                return index, rule["to"] + name[len(pattern) :]
        elif fnmatch.fnmatchcase(name, pattern):
            return index, rule["to"] + name.rsplit("/", 1)[1]
    return None, None


def plan(path, rules):
    """The wheel's archive and [(entry, target name, expected SHA-256 as hex)]."""
    archive = zipfile.ZipFile(path)
    records = [n for n in archive.namelist() if n.endswith(".dist-info/RECORD")]
    if len(records) != 1:
        raise Refused(f"{path}: expected one RECORD, found {len(records)}")
    rows = csv.reader(io.StringIO(archive.read(records[0]).decode()))
    hashes = {row[0]: row[1] for row in rows if len(row) > 1}
    files, used = [], set()
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        index, target = destination(entry.filename, rules)
        if target is None:
            continue
        if ".." in target.split("/") or os.path.isabs(target):
            raise Refused(f"{path}: {entry.filename} leads out of the folder")
        used.add(index)
        kind, _, digest = hashes.get(entry.filename, "").partition("=")
        if kind != "sha256":
            raise Refused(f"{path}: RECORD has no SHA-256 of {entry.filename}")
        digest = base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex()
        files.append((entry, target, digest))
    for index, rule in enumerate(rules):
        if index not in used and not rule["optional"]:
            raise Refused(f"{path}: no file {rule['from']}")
    return archive, files


def extract(path, archive, entry, target, expected, folder):
    out = os.path.join(folder, *target.split("/"))
    os.makedirs(os.path.dirname(out), exist_ok=True)
    hasher = hashlib.sha256()
    with archive.open(entry) as source, open(out, "wb") as sink:
        while block := source.read(1 << 22):
            hasher.update(block)
            sink.write(block)
            if len(block) == 1 << 22:
                say(done=len(block))
    if hasher.hexdigest() != expected:
        raise Refused(
            f"{path}: {entry.filename} has SHA-256 {hasher.hexdigest()}, RECORD says {expected}"
        )
    say(done=entry.file_size % (1 << 22), file=target, size=entry.file_size, sha256=expected)


def main():
    with open(sys.argv[1], encoding="utf-8") as job_file:
        job = json.load(job_file)
    path = None
    try:
        plans = []
        for wheel in job["wheels"]:
            path = wheel["path"]
            plans.append((path, *plan(path, wheel["rules"])))
        say(total=sum(entry.file_size for _, _, files in plans for entry, _, _ in files))
        for path, archive, files in plans:
            for entry, target, expected in files:
                extract(path, archive, entry, target, expected, job["destination"])
    except BrokenPipeError:
        os._exit(1)
    except Refused as error:
        say(error=str(error), kind="wheel")
        sys.exit(1)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        say(error=f"{path}: {error}", kind="wheel")
        sys.exit(1)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        say(error=f"{path}: {error}", kind="disk full" if full else "other")
        sys.exit(1)


main()
