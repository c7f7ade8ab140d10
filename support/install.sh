# Installs what a requirements file asks for into a virtual environment, which it makes where there is none.
#
#     SYSTEM_PYTHON=python3 sh support/install.sh requirements.txt .venv/bin/python [--upgrade]
#
# What has been installed leaves a copy of its requirements file in the environment: while both are the same, nothing
# is done. The file .making there is the lock of those who make or install, and says what is under way: after an
# interruption a half-made environment is made again, and packages that may lack files are installed again.
set -e
requirements=$1 python=$2 upgrade=$3
venv=${python%/*/*}

is_current() {
    cmp -s "$requirements" "$venv/.$requirements" && [ -x "$python" ] && [ -z "$upgrade" ] || return
    # After an upgrade of the system it may be another Python, which finds none of the packages.
    minor=$(sed -n 's/^version[_info]* = \([0-9]*\.[0-9]*\).*/\1/p' "$venv/pyvenv.cfg")
    case $("$python" -V) in "Python $minor"*) ;; *) return 1 ;; esac
}
is_current && exit

# The base executable, as python3 may be that of this environment.
base=$($SYSTEM_PYTHON -c '
import sys
sys.stdout.write(getattr(sys, "_base_executable", sys.executable))
sys.exit(sys.version_info < (3, 11))' 2>/dev/null) || {
    version=$($SYSTEM_PYTHON -V 2>&1) || version="not there"
    echo "${base:-$SYSTEM_PYTHON} is $version: this project needs Python 3.11 or later; install it, or name another:" \
        "make SYSTEM_PYTHON=python3.11" >&2
    exit 1
}
if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ ! -e "$venv/.making" ] && [ "$(ls -A "$venv")" ]; then
    echo "$venv is no virtual environment (it has no pyvenv.cfg) and is left as it is: make VENV=folder" >&2
    exit 1
fi

[ -d "$venv" ] || mkdir -p "$(readlink "$venv" || echo "$venv")" # the target of a link
folder=$(cd "$venv" && pwd -P)                                   # the module venv refuses links
exec 9>>"$folder/.making"                                        # all that is started from here on holds the lock
"$base" -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("waiting: another make is installing into", sys.argv[1], flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)' "$venv" 2>/dev/null || true # without locks on Windows and some file systems
is_current && exit

state=$(cat "$folder/.making")
if [ "$state" = environment ] ||
    ! "$python" -I -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "making the environment $venv"
    echo environment >"$folder/.making"
    find "$folder" -mindepth 1 -maxdepth 1 ! -name .making -exec rm -rf {} +
    "$base" -I -m venv "$folder"
    state=
fi
echo packages >"$folder/.making"

uv=uv
if ! uv --version >/dev/null 2>&1; then
    uv=$(dirname "$python")/uv
    [ -x "$uv" ] || "$python" -I -m pip install -qq uv
fi
if [ -z "$UV_DEFAULT_INDEX$UV_INDEX$UV_INDEX_URL$UV_EXTRA_INDEX_URL" ]; then # then what pip is configured for counts
    set -a
    eval "$("$python" -I -m pip config list | sort -r | sed -n 's/\\n/ /g; s/\r$//; /\.find-links=/y/ /,/
        s/^[^=]*\.index-url=/UV_DEFAULT_INDEX=/p; s/^[^=]*\.constraint=/UV_CONSTRAINT=/p
        s/^[^=]*\.extra-index-url=/UV_INDEX_STRATEGY=unsafe-best-match UV_INDEX=/p
        s/^[^=]*\.find-links=/UV_FIND_LINKS=/p; s/^[^=]*\.cert=/SSL_CERT_FILE=/p')"
    set +a
fi
# Where torch comes from is decided once: torch of the usual index and torchvision of PyTorch's own do not go together.
if [ ! -e "$folder/.torch" ] && [ "$requirements" = requirements.txt ]; then
    backend=
    if [ -z "$UV_DEFAULT_INDEX$UV_INDEX$UV_INDEX_URL$UV_EXTRA_INDEX_URL" ]; then
        backend=--torch-backend=${UV_TORCH_BACKEND:-auto}
        UV_HTTP_RETRIES=1 UV_HTTP_CONNECT_TIMEOUT=5 UV_HTTP_TIMEOUT=5 \
            "$uv" pip install -q --python "$python" --dry-run "$backend" torch torchvision 2>/dev/null || {
            echo "PyTorch's own index does not answer: the usual one has torch with CUDA, about 3 GB to fetch"
            backend=
        }
    fi
    echo "$backend" >"$folder/.torch"
fi

echo "installing what $requirements asks for into $venv"
"$uv" pip install $([ -t 1 ] || echo -q) --python "$python" $(cat "$folder/.torch" 2>/dev/null) $upgrade \
    $([ "$state" != packages ] || echo --reinstall) -r "$requirements"
cp "$requirements" "$venv/.$requirements"
: >"$folder/.making"
