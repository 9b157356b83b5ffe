# Appended to the functions that mkinitramfs and its hooks share. Most of what these ask of realpath, readlink, mkdir and
# modinfo can be answered without a process; the rest is left to the programs. The answers are the same, to the byte.
selfsame_bin="$(command readlink -f /bin)"
selfsame_plain() {
	case "$1" in
	/*//*|*/./*|*/../*|*/.|*/..|*/) return 1 ;;
	/*) ;;
	*) return 1 ;;
	esac
	[ -n "${1##*//*}" ]
}
realpath() {
	if [ $# -eq 2 ]; then
		local path="$2"
		while [ "${path#//}" != "$path" ]; do
			path="${path#/}"
		done
		if [ "$1" = -ms ] || { [ "$1" = -s ] && [ -e "$path" ]; }; then
			if selfsame_plain "$path"; then
				printf '%s\n' "$path"
				return 0
			fi
		fi
	fi
	command realpath "$@"
}
readlink() {
	if [ $# -eq 2 ] && [ "$1" = -f ]; then
		if [ "$2" = /bin ]; then
			printf '%s\n' "$selfsame_bin"
			return 0
		fi
		if selfsame_plain "$2" && [ -e "$2" ]; then
			local path="$2"
			while [ -n "$path" ] && [ ! -L "$path" ]; do
				path="${path%/*}"
			done
			if [ -z "$path" ]; then
				printf '%s\n' "$2"
				return 0
			fi
		fi
	fi
	command readlink "$@"
}
mkdir() {
	if [ $# -eq 2 ] && [ "$1" = -p ] && [ -d "$2" ]; then
		return 0
	fi
	command mkdir "$@"
}
# One module in seven names firmware. Those of this kernel that do are known beforehand, by a directory of the same path;
# whatever is reached through a link is not known.
modinfo() {
	if [ $# -eq 5 ] && [ "$1 $3 $4" = '-k -F firmware' ] && [ -d "$selfsame_firmware" ]; then
		case "$5" in
		"/lib/modules/$2/"*.ko)
			if selfsame_plain "$5" && [ -f "$5" ] && [ ! -e "$selfsame_firmware$5" ] && [ -d "$selfsame_firmware/lib/modules/$2" ]; then
				local path="$5"
				while [ "$path" != /lib/modules ] && [ ! -L "$path" ]; do
					path="${path%/*}"
				done
				[ "$path" != /lib/modules ] || return 0
			fi
			;;
		esac
	fi
	command modinfo "$@"
}
selfsame_firmware=/var/tmp/selfsame-firmware
