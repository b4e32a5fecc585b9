# SPDX-License-Identifier: Apache-2.0
"""receive.py ADDRESS PORT: takes TCP connections and prints "LENGTH SHA256" of what came by each; run in a namespace."""

import hashlib
import socket
import sys
import threading


def take(connection):
    digest, length = hashlib.sha256(), 0
    while data := connection.recv(1 << 18):
        digest.update(data)
        length += len(data)
    print(length, digest.hexdigest(), flush=True)
    connection.sendall(b".")
    connection.close()


server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    threading.Thread(target=take, args=(server.accept()[0],), daemon=True).start()
