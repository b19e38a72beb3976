"""What every route needs: context, parameters, errors, rates, the inbox, the renderer of pages."""
