#!/bin/bash
# usage: build.sh VERSION INSTALLED OUT
#
# Splits what `make install PREFIX=/usr LIBDIR=/usr/lib/ARCHITECTURE DESTDIR=INSTALLED` has put there into Debian packages in OUT.
# Needs dpkg-deb, dpkg-shlibdeps and strip. With SOURCE_DATE_EPOCH two runs give the same bytes.
set -euo pipefail

version=$1-1
upstream=$1
installed=$(realpath "$2")
out=$(realpath -m "$3")
here=$(dirname "$(realpath "$0")")
vendor=$here/../../src/pipeline/dashboard/vendor
architecture=$(dpkg --print-architecture)
lib=usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
maintainer="NeuroHTTP <packages@neurohttp.invalid>"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat -c %Y "$here/../../CHANGELOG.md")}
date=$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
umask 022

work=$out/work
rm -rf "$work" "$out"/*.deb
mkdir -p "$work"

# take PACKAGE PATH...: moves what was installed into a package.
cp -a "$installed" "$work/installed"
take() {
    local package=$1 path
    shift
    for path in "$@"; do
        mkdir -p "$work/$package/$(dirname "$path")"
        mv "$work/installed/$path" "$work/$package/$path"
    done
}
cd "$work/installed"
take libneurohttp1 "$lib/libneurohttp.so.${upstream%%.*}" "$lib/libneurohttp.so.$upstream"
take libneurohttp-dev usr/include "$lib"/{libneurohttp.so,libneurohttp.a,pkgconfig,cmake} \
    usr/share/man/man3
rmdir "$lib"
take neurohttp-plugins usr/lib/neurohttp usr/share/doc/neurohttp/shipped-plugins.md
mkdir -p "$work/neurohttp-plugins/usr/share/doc/neurohttp-plugins"
mv "$work/neurohttp-plugins/usr/share/doc/neurohttp/shipped-plugins.md" \
    "$work/neurohttp-plugins/usr/share/doc/neurohttp-plugins/README.md"
rmdir "$work/neurohttp-plugins/usr/share/doc/neurohttp"
# The licence stands in each package's copyright, the changes in its changelog.
rm usr/share/doc/neurohttp/LICENSE usr/share/doc/neurohttp/LICENSE.uPlot
mv "$work/installed" "$work/neurohttp"
cd "$work"
ln -s neurohttp.1.gz neurohttp/usr/share/man/man1/aionic.1.gz

strip --strip-unneeded neurohttp/usr/bin/neurohttp "libneurohttp1/$lib/libneurohttp.so.$upstream" \
    neurohttp-plugins/usr/lib/neurohttp/plugins/*.so
strip --strip-debug "libneurohttp-dev/$lib/libneurohttp.a"
chmod 644 "libneurohttp1/$lib/libneurohttp.so.$upstream" neurohttp-plugins/usr/lib/neurohttp/plugins/*.so
find . -path '*/share/man/*' -type f -exec gzip -9n {} +

# libraries PACKAGE FILE...: the packages that these need, as dpkg-shlibdeps finds them.
mkdir -p debian
printf 'Source: neurohttp\n\nPackage: neurohttp\nArchitecture: any\n' >debian/control
libraries() {
    dpkg-shlibdeps -O --ignore-missing-info "$@" 2>/dev/null | sed -n 's/^shlibs:Depends=//p'
}

# pack PACKAGE SECTION DEPENDS SUMMARY, with the long description on stdin.
pack() {
    local package=$1 section=$2 depends=$3 summary=$4 doc
    doc=$package/usr/share/doc/$package
    mkdir -p "$doc" "$package/DEBIAN"
    {
        echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
        echo "Upstream-Name: NeuroHTTP"
        echo
        echo "Files: *"
        echo "Copyright: $(sed -n 's/^Copyright (c) //p' "$here/../../LICENSE")"
        echo "License: Expat"
        echo
        echo "Files: src/pipeline/dashboard/vendor/*"
        echo "Copyright: $(sed -n 's/^Copyright (c) //p' "$vendor/LICENSE.uPlot")"
        echo "License: Expat"
        echo "Comment: uPlot, the charts of the live page, embedded in server and library"
        echo
        echo "License: Expat"
        sed -n '/^Permission/,$ { s/^$/./; s/^/ /; p }' "$here/../../LICENSE"
    } >"$doc/copyright"
    printf 'neurohttp (%s) unstable; urgency=medium\n\n  * Release %s.\n\n -- %s  %s\n' \
        "$version" "$upstream" "$maintainer" "$date" | gzip -9n >"$doc/changelog.Debian.gz"
    gzip -9n <"$here/../../CHANGELOG.md" >"$doc/changelog.gz"
    rm -f "$doc/CHANGELOG.md"
    (cd "$package" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' |
        sort -z | xargs -0 md5sum) >"$package/DEBIAN/md5sums"
    {
        echo "Package: $package"
        echo "Source: neurohttp"
        echo "Version: $version"
        echo "Architecture: $architecture"
        echo "Maintainer: $maintainer"
        echo "Installed-Size: $(du -k -s --exclude=DEBIAN "$package" | cut -f1)"
        [ -z "$depends" ] || echo "Depends: $depends"
        case $package in libneurohttp*) echo "Multi-Arch: same" ;; esac
        echo "Section: $section"
        echo "Priority: optional"
        echo "Description: $summary"
        sed 's/^$/./; s/^/ /'
    } >"$package/DEBIAN/control"
    find "$package" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Z${NH_DEB_COMPRESSION:-xz} -b "$package" "$out" >/dev/null
    echo "$out/${package}_${version}_$architecture.deb"
}

mkdir -p libneurohttp1/DEBIAN neurohttp/DEBIAN
echo "libneurohttp 1 libneurohttp1 (>= $upstream)" >libneurohttp1/DEBIAN/shlibs
echo "activate-noawait ldconfig" >libneurohttp1/DEBIAN/triggers
(cd neurohttp && find etc -type f -printf '/%p\n' | sort) >neurohttp/DEBIAN/conffiles
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" neurohttp/DEBIAN/

pack libneurohttp1 libs "$(libraries "libneurohttp1/$lib/libneurohttp.so.$upstream")" \
    "HTTP server for AI traffic, as a library" <<'END'
NeuroHTTP serves routes of a program and stands in front of models: it speaks
the APIs of OpenAI and Anthropic, streams token by token with back-pressure,
and routes prompts to providers.

This package holds the shared library.
END
pack libneurohttp-dev libdevel "libneurohttp1 (= $version), libc6-dev" \
    "HTTP server for AI traffic, as a library (development)" <<'END'
NeuroHTTP serves routes of a program and stands in front of models: it speaks
the APIs of OpenAI and Anthropic, streams token by token with back-pressure,
and routes prompts to providers.

This package holds the header, the archive, files for pkg-config and CMake,
and the headers of the original server.
END
pack neurohttp httpd "$(libraries neurohttp/usr/bin/neurohttp)" \
    "HTTP server and gateway for AI traffic" <<'END'
NeuroHTTP stands in front of models: it speaks the APIs of OpenAI and
Anthropic, streams token by token, routes prompts to providers, keeps answers,
limits clients and refuses attacks. Without any provider it answers offline.

Installing it starts nothing: systemctl enable --now neurohttp does.
END
pack neurohttp-plugins httpd \
    "neurohttp (>= $upstream) | libneurohttp1 (>= $upstream), $(libraries neurohttp-plugins/usr/lib/neurohttp/plugins/*.so)" \
    "plugins for the HTTP server NeuroHTTP" <<'END'
Three plugins: limiter bounds what a client, a key or a header value may ask
for, logstats writes a row for each answer, openai_proxy gives hosts of the
original server the API of OpenAI.
END
rm -rf "$work"
