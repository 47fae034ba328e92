#!/bin/bash
# usage: check.sh FOLDER
#
# The packages in FOLDER: lintian has no error; in a fresh root they install, serve, load a plugin,
# link a program and go without a trace. Where there is no lintian, no root or no package index, a line
# that begins with "skipped:" says so.
set -euo pipefail

folder=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
fail() {
    echo "failed: $*" >&2
    exit 1
}

packages=("$folder"/*.deb)
[ ${#packages[@]} = 4 ] || fail "${#packages[@]} packages instead of 4"

if command -v lintian >/dev/null; then
    lintian --allow-root --fail-on error --suppress-tags initial-upload-closes-no-bugs "${packages[@]}"
    echo "lintian: no error"
else
    echo "skipped: no lintian"
fi

if [ "$(id -u)" != 0 ] || ! command -v mmdebstrap >/dev/null; then
    echo "skipped: a fresh root needs root and mmdebstrap"
    exit 0
fi
root=$folder/root
server=
end() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    umount -q "$root/proc" 2>/dev/null || true
    rm -rf "$root"
}
trap end EXIT
rm -rf "$root"
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
if ! mmdebstrap --quiet --mode=root --variant=essential --include=ca-certificates "$suite" "$root"; then
    echo "skipped: a fresh root of $suite cannot be had"
    exit 0
fi
# ldconfig's cache, dpkg's own state and logs are not the packages'.
files() {
    (cd "$root" && find . \( -path ./proc -o -path ./dev -o -path ./var/lib/dpkg -o -path ./var/cache -o \
        -path ./var/log -o -path ./tmp -o -path ./etc/ld.so.cache \) -prune -o -print | sort)
}
inside() {
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

files >"$folder/before"
cp "${packages[@]}" "$root/tmp/"
mount -t proc proc "$root/proc" 2>/dev/null || true
inside sh -c 'dpkg -i /tmp/libneurohttp1_*.deb /tmp/neurohttp_*.deb /tmp/neurohttp-plugins_*.deb'
# Its libc6-dev would bring a compiler along; the one outside is as good.
inside sh -c 'dpkg -i --force-depends /tmp/libneurohttp-dev_*.deb' 2>/dev/null

inside neurohttp check >/dev/null || fail "the installed configuration"
# 127.0.0.1 is the same inside: only the files are others. The program says where it listens.
rm -f "$folder/said"
mkfifo "$folder/said"
exec 9<>"$folder/said"
chroot "$root" /usr/bin/env -i PATH=/usr/bin neurohttp serve --listen 127.0.0.1:0 \
    --set plugins.load=limiter --set plugin.limiter.requests=3 --set plugin.limiter.seconds=3600 \
    >&9 2>"$folder/log" &
server=$!
read -r -t 20 line <&9 || fail "$(cat "$folder/log")"
port=${line##*:}
python3 - "$port" <<'END' || fail "$(cat "$folder/log")"
import http.client, json, sys
statuses = []
for _ in range(4):
    server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
    server.request("POST", "/v1/chat", json.dumps({"prompt": "from a package"}))
    answer = server.getresponse()
    body = answer.read()
    statuses.append(answer.status)
    if answer.status == 200:
        assert json.loads(body)["response"] == "from a package", body
assert statuses == [200, 200, 200, 429], statuses
END
# The process of the program itself: chroot and env have become it.
kill -TERM $server
wait $server || fail "the server ended with $?"
server=

inside sh -c 'ldconfig -p | grep -q "libneurohttp.so.1 "' || fail "the loader does not know the library"
cc -std=c11 -Wall -Wextra -Werror "$here/../../c_examples/hello.c" -o "$folder/hello" \
    -I"$root/usr/include" -L"$root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)" -lneurohttp || fail "a program does not link"
rm -f "$folder/hello"
for page in man1/neurohttp.1 man3/libneurohttp.3 man5/neurohttp.toml.5; do
    [ -e "$root/usr/share/man/$page.gz" ] || fail "$page is not there"
done

inside dpkg --purge libneurohttp-dev neurohttp-plugins neurohttp libneurohttp1
umount -q "$root/proc" 2>/dev/null || true
rm -f "$root"/tmp/*.deb
files >"$folder/after"
diff "$folder/before" "$folder/after" || fail "something stayed behind"
rm -f "$folder"/{before,after,said,log}
echo "the packages install, serve and go"
