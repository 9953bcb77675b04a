#!/usr/bin/env bash
# The built wheel, installed where no file of the clone can be seen: init, plan, run, report, front.
set -euo pipefail
python=${PYTHON:-$PWD/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip wheel -q --no-deps -w "$work/wheel" .
# The dependencies come from the first environment, the product from the wheel alone.
"$python" -m venv --without-pip "$work/env"
site=$("$work/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -m pip install -q --no-deps --target "$work/product" "$work"/wheel/*.whl
cp -r "$work/product"/. "$site"/
dependencies=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Appended by a .pth file, without executing the .pth files there: an editable install would show the clone.
echo "$dependencies" > "$site/dependencies.pth"
cd "$work"
sweep() { "$work/env/bin/python" -P -m sweep "$@"; }
"$work/env/bin/python" -P -c "import sweep, trainer, analysis, sys; assert all(m.__file__.startswith('$work') for m in (sweep, trainer, analysis)), sweep.__file__"
sweep init grid.yaml
sweep schema > grid.schema.json
cat > short.yaml <<'YAML'
problem: {name: multidigits, n_train: 256, n_validation: 64, n_test: 64}
training: {sparsify: {outer_iterations: 1, epochs: 1}, retrain: {outer_iterations: 1, epochs: 1}}
YAML
sweep plan grid.yaml --override short.yaml
sweep run grid.yaml --override short.yaml --limit 4 --no-dashboard --out here
sweep report here
sweep front here
sweep verify here
test -s here/report.html
