"""Bash and the programs that scripts call: each script exits with 0 when what it tried works."""

WORKS = {
    "pipes": """
set -o pipefail
seq 1 10 | grep -c 1 | { read -r n; [ "$n" = 2 ]; } && ! { false | true; } &&
[ "$(printf 'b\\na\\n' | sort | tr '\\n' ' ')" = 'a b ' ]
""",
    "here-documents": """
[ "$(cat <<X
$((1 + 1))
X
)" = 2 ] && [ "$(cat <<<here)" = here ] &&
big=$(head -c 100000 /dev/zero | tr '\\0' a) && [ "$(wc -c <<<"$big")" = 100001 ]
""",
    "background jobs": "sleep 0.01 & wait $!; sleep 50 & pid=$!; kill $pid; wait $pid; [ $? = 143 ]",
    "job control": "set -m; sleep 50 & kill %1; wait %1 2>/dev/null; [ $? = 143 ]",
    "coproc": 'coproc cat; echo hi >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; [ "$line" = hi ]',
    "arithmetic, arrays, patterns": """
a=(1 2 3); declare -A m=([k]=v)
[ $((2 ** 10 + a[1])) = 1026 ] && [ ${m[k]^^} = V ] && [[ abc =~ ^a(.)c$ ]] && [ "${BASH_REMATCH[1]}" = b ]
""",
    "traps and timeout": """
trap 'echo got >out' USR1; kill -USR1 $$; [ "$(cat out)" = got ] || exit 1
(trap 'echo bye >out' EXIT); [ "$(cat out)" = bye ] || exit 2
timeout 0.05 sleep 50; [ $? = 124 ]
""",
    "redirection": """
exec 5>f 6<f; echo x >&5; read -r line <&6; [ "$line" = x ] || exit 1
{ echo a; echo b >&2; } >o 2>&1; [ "$(wc -l <o)" = 2 ] && : <>f && set -C && ! : >f
""",
    "devices": """
echo x >/dev/null && [ "$(head -c 4 /dev/urandom | wc -c)" = 4 ] && [ "$(head -c 3 /dev/zero | wc -c)" = 3 ] &&
! echo x 2>/dev/null >/dev/full
""",
    "/dev/tcp": "! (exec 3<>/dev/tcp/127.0.0.1/9)",
    "read and mapfile": """
printf 'a\\nb\\n' >f; mapfile -t lines <f; [ ${#lines[@]} = 2 ] && mkfifo pipe && exec 3<>pipe && read -r -t 0.05 -u 3
[ $? -gt 128 ]
""",
    "globs": """
shopt -s globstar nullglob; mkdir -p a/b; touch a/b/c.txt; found=(**/*.txt); none=(*.zip)
[ ${#found[@]} = 1 ] && [ ${#none[@]} = 0 ]
""",
    "functions and getopts": """
f() { local OPTIND option; while getopts ab: option; do echo $option$OPTARG; done; }
[ "$(f -a -b x | tr -d '\\n')" = abx ]
""",
    "printf and date": """
[ "$(printf '%(%Y)T' 0)" = 1970 ] && [ "$(date -u -d @0 +%Y)" = 1970 ] && [ $EPOCHSECONDS -gt 0 ] && [ $RANDOM -ge 0 ]
""",
    "ulimit and nice": 'ulimit -n 50 && [ "$(ulimit -n)" = 50 ] && [ "$(nice -n 1 nice)" -gt 0 ]',
    "awk": "[ \"$(echo '1 2' | awk '{print $1 + $2}')\" = 3 ]",
    "sed": '[ "$(echo abc | sed -E \'s/b(.)/\\1/\')" = ac ] && echo x >f && sed -i s/x/y/ f && [ "$(cat f)" = y ]',
    "grep": "echo a1 | grep -qE 'a[0-9]' && ! grep -rq zzz .",
    "find and xargs": """
mkdir d; touch d/x d/y
[ "$(find . -type f -print0 | xargs -0 -n1 basename | sort | tr -d '\\n')" = xy ] && find . -type f -delete &&
[ ! -e d/x ]
""",
    "sort": '[ "$(seq 1 100000 | shuf | sort -n --parallel=2 -S 1M -T . | head -1)" = 1 ]',
    "tar and gzip": """
mkdir d; echo x >d/f; ln -s f d/l; tar czf a.tgz d && rm -r d && tar xzf a.tgz && [ "$(cat d/l)" = x ] &&
[ "$(gzip -c d/f | gunzip)" = x ]
""",
    "files": """
touch a && cp -a a b && mv b c && ln a d && [ "$(stat -c %h a)" = 2 ] && chmod 600 a && mktemp >/dev/null &&
dd if=/dev/zero of=z bs=1k count=2 status=none && [ "$(du -b z | cut -f1)" = 2048 ] && truncate -s 0 z &&
install -m 700 a i && [ "$(realpath a)" = /workspace/a ] && ls -l >/dev/null && df . >/dev/null 2>&1 &&
flock lock true && rm -rf ./*
""",
    "sums and text": """
seq 5 >s && sha256sum s >sums && sha256sum -c --quiet sums && [ "$(tail -n1 s | tee t)" = 5 ] && split -n 2 s &&
[ "$(comm -12 s s | paste -sd+)" = 1+2+3+4+5 ] && [ "$(base64 <<<x | base64 -d)" = x ] && factor 6 >/dev/null
""",
    "who and where": '[ "$(id -u) $(pwd) $(uname -s) $(uname -n) $(nproc)" \\> "1000 /workspace Linux sandbox 0" ]',
    "Python from a script": '[ "$(echo 1 | python3 -c "print(int(input()) + 1)")" = 2 ]',
}
