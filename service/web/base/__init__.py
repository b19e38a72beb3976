"""The parts that every route needs: context, parameters, errors, middlewares, the inbox, the page renderer."""
