#!/bin/sh
# The kernel tests on an emulated CPU with AVX-512, which few machines have: Debian's bochs boots Debian's
# kernel with the test program and nothing else in memory. Takes some ten minutes.
#
# usage: run.sh TESTS FOLDER      the built test program; where the machine is put together
set -eu

tests=$1
folder=$(mkdir -p "$2" && cd "$2" && pwd)
here=$(dirname "$0")

for name in bochs grub-mkrescue xorriso cpio apt-get; do
	if ! command -v $name >/dev/null; then
		echo "$name is missing: apt-get install -y --no-install-recommends bochs bochs-term bochsbios" \
			"vgabios grub-pc-bin grub-common xorriso mtools cpio" >&2
		exit 1
	fi
done

# Any kernel of the last ten years will do; the one for virtual machines is small.
if ! ls "$folder"/linux/boot/vmlinuz-* >/dev/null 2>&1; then
	package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
	(cd "$folder" && rm -f linux-image-*.deb && apt-get -qq download "$package")
	dpkg-deb -x "$folder"/linux-image-*.deb "$folder/linux"
fi

rm -rf "$folder/root" "$folder/iso"
mkdir -p "$folder/root" "$folder/iso/boot/grub"
cc -O1 -Wall -Wextra -Werror -static '-DTHIN="13"' -o "$folder/root/init" "$here/init.c"
strip -o "$folder/root/kernels" "$tests"
ldd "$tests" | grep -o '/[^ ]*' | while read -r library; do
	mkdir -p "$folder/root$(dirname "$library")"
	cp -L "$library" "$folder/root$library"
done
(cd "$folder/root" && find . | cpio --quiet -o -H newc | gzip -1) >"$folder/iso/boot/initrd"
cp "$folder"/linux/boot/vmlinuz-* "$folder/iso/boot/linux"
# XSAVES and XSAVEC (bits 323 and 321 of the kernel's list) are not laid out as announced by bochs 2.7.
cat >"$folder/iso/boot/grub/grub.cfg" <<-END
	set timeout=0
	menuentry kernels {
		linux /boot/linux console=ttyS0,115200 quiet nokaslr noxsaves clearcpuid=321,323 mitigations=off
		initrd /boot/initrd
	}
END
grub-mkrescue -d /usr/lib/grub/i386-pc -o "$folder/boot.iso" "$folder/iso" >"$folder/grub.log" 2>&1
exec python3 "$here/machine.py" "$folder" 3600
