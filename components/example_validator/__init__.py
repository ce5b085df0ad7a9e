"""ExampleValidator: what departs from the schema, from the split that is judged on, or from the run before."""

# TFX puts a stand-in where tfx_bsl's wheels have no sql_util, without which TFDV cannot be imported.
import tfx  # noqa: F401
