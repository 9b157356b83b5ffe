# Appended where copy_file of initramfs-tools is known, which then is called selfsame_copy_file: what it does for a
# file that is there already, or has no link on its way, without a process for each question.
copy_file() {
	if [ $# -eq 2 ] && selfsame_plain "$2" && [ -f "$2" ] && [ ! -d "${DESTDIR}/$2" ]; then
		local src="$2" target="$2" path
		case "$2" in
		/bin/* | /lib* | /sbin/*)
			[ "$selfsame_bin" = /usr/bin ] && src="/usr$2"
			target="/usr$2"
			;;
		esac
		[ -e "${DESTDIR}/${target}" ] && return 1
		path="$src"
		while [ -n "$path" ] && [ ! -L "$path" ]; do
			path="${path%/*}"
		done
		if [ -z "$path" ] && [ -e "$src" ]; then
			mkdir -p "${DESTDIR}/${target%/*}"
			[ "${verbose}" = "y" ] && echo "Adding $1 ${src}"
			cp -pP "${src}" "${DESTDIR}/${target}" || return $(($? + 1))
			return 0
		fi
	fi
	selfsame_copy_file "$@"
}
