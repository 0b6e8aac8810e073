"""What may be in a condition: the dialect of sqlglot that reads it, the nodes of its trees, the functions.

What is no operator, type or word of a condition is a name here: so columns can be called `comment` or `load`,
as in polars, and a subquery is no more than words that make no sense.
"""

from __future__ import annotations

from sqlglot import exp, parser, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.tokenizer_core import TokenType


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words("""
    abs acos acosd asin asind atan atan2 atan2d atand bit_and bit_count bit_not bit_or bit_xor cbrt ceil
    ceiling cos cosd cot cotd degrees erf exp floor ln log log10 log1p log2 mod pi pow power radians
    round sign sin sind sqrt tan tand trunc truncate

    coalesce greatest if ifnull least nullif xor

    bit_length char_length character_length concat concat_ws ends_with initcap left length lower ltrim
    normalize octet_length regexp_like regexp_replace replace reverse right rtrim split_part starts_with
    string_to_array strpos substr substring upper

    array_contains array_dot_product array_get array_inner_product array_length array_lower array_mean
    array_reverse array_sum array_to_string array_unique array_upper

    date date_part datetime day dayofmonth dayofweek dayofyear hour minute month quarter
    second strftime strptime time timestamp week year
""")
"""Functions of polars that give the same for a row whenever, and beside whatever rows, they are asked: for
numbers, anything, texts, lists, dates. LPAD and RPAD are left out: they make texts of any size."""

LENGTHENING = _words("replace regexp_replace array_to_string")
"""Functions that write their last value many times."""

CLOCK = _words("now current_date current_time current_timestamp localtime localtimestamp")
"""Functions that give something else in each run."""

SEVERAL_ROWS = _words("""
    approx_quantile array_agg avg corr count covar covar_pop covar_samp cume_dist dense_rank first
    first_value group_concat grouping lag last last_value lead listagg max median min nth_value ntile
    over percent_rank quantile_cont quantile_disc rank row_number stddev stddev_samp stdev stdev_samp
    string_agg sum var var_samp variance
""")
"""Functions that look at several rows."""

NODES: tuple[type[exp.Expr], ...] = (
    *(exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Array, exp.Bracket),
    *(exp.And, exp.Or, exp.Xor, exp.Not, exp.Neg, exp.Is, exp.In, exp.Between, exp.Case, exp.If, exp.Any),
    *(exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.NullSafeNEQ, exp.GT, exp.GTE, exp.LT, exp.LTE),
    *(exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpILike, exp.StartsWith),
    *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.DPipe, exp.BitwiseAnd, exp.BitwiseOr),
    *(exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam, exp.Interval, exp.Var),
    *(exp.Extract, exp.Substring, exp.Trim, exp.StrPosition),
)
"""What a tree may consist of, beside columns and functions."""

_KEYWORDS = _words("""
    and or xor not is in between like ilike rlike regexp null true false case when then else end as
    distinct from for interval any

    bool boolean tinyint smallint int integer bigint int1 int2 int4 int8 float float4 float8 real double
    decimal numeric char varchar text string date time timestamp datetime

    :: || == >= <= <> != <=> ~~ ~~* ~*
""")


class ConditionSql(Dialect):
    """The dialect of conditions. Functions keep their names (`exp.Anonymous`), but for those few whose
    arguments are no plain list."""

    class Tokenizer(tokens.Tokenizer):
        """Words and operators; all else is a name."""

        IDENTIFIERS = ['"', "`"]  # noqa: RUF012  as in the class that it overrides
        KEYWORDS = {  # noqa: RUF012
            **{word: tokens.Tokenizer.KEYWORDS[word] for word in map(str.upper, _KEYWORDS)},
            "DOUBLE PRECISION": TokenType.DOUBLE,
            "~": TokenType.RLIKE,
            "^@": TokenType.CARET_AT,
            "//": TokenType.DIV,
        }
        VAR_SINGLE_TOKENS = {"$", "@", "#"}  # noqa: RUF012
        COMMANDS = set[TokenType]()  # noqa: RUF012

    class Parser(parser.Parser):
        """Expressions."""

        FUNCTIONS = {}  # noqa: RUF012
        FUNCTION_PARSERS = {  # noqa: RUF012
            name: parser.Parser.FUNCTION_PARSERS[name]
            for name in ("CAST", "TRY_CAST", "EXTRACT", "SUBSTRING", "TRIM", "POSITION")
        }
        NO_PAREN_FUNCTIONS = {}  # noqa: RUF012
        NO_PAREN_FUNCTION_PARSERS = {  # noqa: RUF012
            name: parser.Parser.NO_PAREN_FUNCTION_PARSERS[name] for name in ("ANY", "CASE")
        }
        DISJUNCTION = {TokenType.OR: exp.Or, TokenType.XOR: exp.Xor}  # noqa: RUF012
