"""What goes out: dataset card, charts, exports, uploads to the Hub and to stores."""
