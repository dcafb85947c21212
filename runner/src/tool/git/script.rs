//! What runs in the sprite: the helper that git asks, and the server that passes its questions to the runner. POSIX sh.
//!
//! Invariant: a credential goes through a pipe to the one process that asked, and through the built-in `printf` only, so
//! that it is in no file, no argument and no environment. Nothing waits for ever for a runner that is gone.

/// The server. `$1`: its directory, relative to the home. Writes `ready`, then one line per question to standard output;
/// reads one line per answer: the question's id, then user and password, or `-` and a reason.
///
/// Only the server removes an answer's pipe, so opening it for writing can't make a file of it. The pipe of questions is
/// replaced at once: those of an earlier server go unanswered, and are asked again.
pub(super) const SERVER: &str = r#"umask 077
dir=$HOME/$1
mkdir -p "$dir" || exit 1
cat >"$dir/credential.$$" <<'END_OF_HELPER'
[ "$1" = get ] || exit 0
umask 077
dir=${0%/*}
protocol= host= path=
while IFS= read -r line && [ -n "$line" ]; do
  case $line in
    protocol=*) protocol=${line#*=} ;;
    host=*) host=${line#*=} ;;
    path=*) path=${line#*=} ;;
  esac
done
n=0
until mkfifo "$dir/answer.$$.$n" 2>/dev/null; do
  n=$((n + 1))
  [ "$n" -lt 100 ] || exit 0
done
exec 4<>"$dir/answer.$$.$n"
user= password=
for try in 1 2 3; do
  if [ -p "$dir/ask" ]; then
    printf '%s %s %s %s\n' "$$.$n" "$protocol" "$host" "$path" 1<>"$dir/ask"
  fi
  (sleep 20; echo >&4) </dev/null >/dev/null 2>&1 &
  watch=$!
  IFS=' ' read -r user password <&4
  kill "$watch" 2>/dev/null
  [ -z "$user" ] || break
done
case $user in
  '') echo 'roost: nobody answered; is the runner there?' >&2 ;;
  -) printf 'roost: %s\n' "$password" >&2 ;;
  *) printf 'username=%s\npassword=%s\n' "$user" "$password" ;;
esac
END_OF_HELPER
mv -f "$dir/credential.$$" "$dir/credential" || exit 1
rm -f "$dir/ask.$$"
mkfifo "$dir/ask.$$" && exec 3<>"$dir/ask.$$" && mv -f "$dir/ask.$$" "$dir/ask" || exit 1
{ echo ready; cat <&3; } &
trap 'kill $!' EXIT
while IFS=' ' read -r id answer; do
  pipe=$dir/answer.$id
  [ -p "$pipe" ] || continue
  printf '%s\n' "$answer" 1<>"$pipe"
  rm -f "$pipe"
done
"#;

/// What makes git in a shell of the run ask the helper for `origin`, and nobody else: helpers of the sprite's own would
/// be told the credential, and might keep it.
pub(super) fn exports(origin: &str, dir: &str) -> String {
    // An origin is a scheme and a host, and a directory one of our own names: no quotes in either.
    format!(
        "export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_COUNT=3 \
         GIT_CONFIG_KEY_0='credential.{origin}.helper' GIT_CONFIG_VALUE_0='' \
         GIT_CONFIG_KEY_1='credential.{origin}.helper' GIT_CONFIG_VALUE_1=\"!sh ${{__roost_home@Q}}/'{dir}/credential'\" \
         GIT_CONFIG_KEY_2='credential.{origin}.useHttpPath' GIT_CONFIG_VALUE_2=true\n"
    )
}
